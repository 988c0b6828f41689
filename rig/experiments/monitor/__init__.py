"""What the monitors say of logs and captures."""
