"""Other people's files: what is this, and what is in it. Nothing is executed or unpickled."""
