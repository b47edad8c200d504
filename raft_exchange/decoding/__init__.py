"""What clients send, as JSON and text -> commands: one pure decoder, for gateway and replicas."""
