"""Tests against real servers, each in its own process."""
