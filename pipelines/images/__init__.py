"""How one picture becomes many."""
