"""The operations of the library: a module for each verb, and a package for copies."""
