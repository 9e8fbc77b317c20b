"""Results -> numbers, rows, comparisons, doubts; values in, values out."""
