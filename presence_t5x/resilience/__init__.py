"""What keeps a long run whole: stops, hosts, numbers that go bad."""
