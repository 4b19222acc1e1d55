"""The actions runner: its folder, its registration, its listener, what it says and how it ends."""
