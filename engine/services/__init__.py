"""Services: one duty a file. They do not know one another; what they share is in the store, and in `Holdings`."""
