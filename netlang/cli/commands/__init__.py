"""One module for each command: its arguments, and the call that does the work; heavy imports wait for the call."""
