"""How models/ghost-tiny.gguf is made: see README.md for the commands, in order."""
