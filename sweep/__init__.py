"""What stands behind run_sweep.sh."""
