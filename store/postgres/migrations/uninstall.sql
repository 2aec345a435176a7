DROP FUNCTION IF EXISTS {extend_history}(bigint), {needed_history}(bigint, bigint), {standing_history}(bigint, bigint, bigint[]),
  {retire_history}(text, bigint[]);
DROP VIEW IF EXISTS {all_builds};
DROP TABLE IF EXISTS {history}, {partitions}, {builds}, {slots}, {services}, {run_keys}, {runs}, {heads}, {origins}, {definitions},
  {attempts}, {logs}, {progress}, {shared}, {workers}, {meta};
DROP SEQUENCE IF EXISTS {ids}, {claims}, {rans};
