"""Where it comes from: tables out of files, arrays and DataFrames, and the examples that ship with the package."""
