// The programs share this, and River's two versions must not meet in one module.
module github.com/jobcontrol/jobcontrol/bench/peers/peer

go 1.26.0
