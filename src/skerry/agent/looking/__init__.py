"""What this host shows of its containers by itself, without a tool; also of those that crashed."""
