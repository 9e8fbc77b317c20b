"""What `raybench doctor` looks at: this machine, its programs and Python packages, and what each fact means."""
