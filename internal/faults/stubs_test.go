package faults

var streamFaults, fileFaults []fault
