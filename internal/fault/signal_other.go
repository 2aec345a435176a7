//go:build failpoints && !linux

package fault

// Does not compile, on purpose: the build tag "failpoints" is for Linux.
var _ = the_build_tag_failpoints_is_for_Linux
