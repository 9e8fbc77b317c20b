"""The search for the highest load that a server sustains."""
