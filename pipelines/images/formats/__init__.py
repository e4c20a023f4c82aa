"""What the header of each picture format says, read without decoding a pixel.

The readers are our own: a header is a few fields at known places, while a library would parse all of the file's
metadata, and would differ from the next one in what it tells.
"""
