//! Suites, hostile peers, simulations, benchmarks and fuzz targets for sidecore.
