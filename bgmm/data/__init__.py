"""Input data: tables from files, arrays and DataFrames, and the example data sets of the package."""
