"""What users write, checked, and made safe to print: numbers, names of files, YAML."""
