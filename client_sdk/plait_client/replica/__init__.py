"""What a client has of a document, and its edits on top: pure values, no I/O."""
