"""What a run leaves behind: records, files and reports."""
