"""One training loop for all systems, its losses, its simulated users, and one recipe a system."""
