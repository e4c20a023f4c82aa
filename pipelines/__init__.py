"""How media is turned: probe, index, plan, decode, scale, encode, join and package."""
