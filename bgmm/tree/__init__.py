"""The answer: an ArviZ tree in one schema for every engine and family; building, reading, saving and loading it."""
