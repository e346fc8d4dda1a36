"""What `hive-session doctor` looks at: a workspace, its sessions, the machine."""
