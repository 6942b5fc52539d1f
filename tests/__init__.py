"""The claims of this project, a file each; beside them what several files share."""
