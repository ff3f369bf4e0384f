"""Losses: what each setting loses when the power goes, the primary dies, or the network parts. Answers: docs/reliability.md."""
