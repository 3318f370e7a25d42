"""How it is seen: pictures and text made from a tree."""
