"""Reading a finished dataset back: which samples, in which order, which of their frames."""
