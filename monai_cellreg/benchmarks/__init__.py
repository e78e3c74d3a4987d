"""The papers' tables and the demonstration, each one command."""
