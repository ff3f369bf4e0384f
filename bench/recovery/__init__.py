"""Recovery: a worker is killed; when do the jobs that it ran start again, and how short may a lease be. See `__main__`."""
