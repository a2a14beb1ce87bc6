"""The Plait server: documents over HTTP, every revision kept, edits merged."""
