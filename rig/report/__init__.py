"""What a run leaves behind: verdict, summary, run directory."""
