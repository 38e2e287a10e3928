"""Trains, exports and scores the default models of MSAO."""
