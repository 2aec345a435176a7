-- Builds of items (for_each) hold the build that waits for them as a negative
-- dependant. Nothing else changes, but a program that does not know that must not
-- end such builds: it would never release who waits.
COMMENT ON COLUMN {builds}.dependants IS 'ids of builds that wait for this one; negative: it is an item of that one';
