/* flat_folder.h - folders that hold files and no folders, emptied. */
#ifndef R2I_FLAT_FOLDER_H
#define R2I_FLAT_FOLDER_H

/* Unlinks all files of the folder, `first` before all others (NULL: no matter which).  A folder inside
 * stays, and so does what a link in place of the folder points to.  Returns 0, or -1 and errno of what
 * was not possible: ENOENT, there is no such folder. */
int r2i_flat_folder_empty(const char *path, const char *first);
#endif
