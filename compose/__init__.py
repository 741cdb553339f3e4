"""The whole pipeline with one command (`compose/up`), and what it takes to run it for real: containers, systemd units."""
