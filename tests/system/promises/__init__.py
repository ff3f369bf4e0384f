"""The promises of DESIGN section 5, each tried against real worker processes and a real server."""
