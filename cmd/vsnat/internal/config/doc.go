// Package config reads vsnat's configuration file, TOML, and finds everything
// that is wrong with it at once, each with its place.
//
// [Load] reads a file, or all *.toml files of a directory as if they were one,
// into a [Config]: plain values in which all defaults are filled in and
// everything is checked that can be without the host. docs/vsnat.toml has every
// key; docs/config.md explains them.
package config
