"""The files of a search folder, read and checked field by field."""
