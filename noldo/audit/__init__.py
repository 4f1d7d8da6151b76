"""Which labels are wrong: patches ranked by how networks that did not learn from them see their labels."""
