"""One module for each runtime: a file in, arrays out."""
