"""The parts of benches/peers/run, which is the place to begin reading."""
