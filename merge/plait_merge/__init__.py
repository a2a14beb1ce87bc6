"""Three-way merge of JSON documents."""
