//! Single packets through the programs, without a network.
