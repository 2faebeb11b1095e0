"""What a run is to be: setups, who says so, changes, size and cost. No torch here."""
