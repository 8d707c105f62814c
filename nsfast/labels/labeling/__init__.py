"""Making a label table: teachers look at pictures, and any number of processes share the work."""
