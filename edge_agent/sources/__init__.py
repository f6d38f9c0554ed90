"""Where rows come from: recordings, and any program that writes JSON lines."""
