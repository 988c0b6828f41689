/* The compiled half of rig.splitdriver.lane. */
#include "lane.h"

static PyMethodDef functions[] = {
    {"front", lane_front, METH_VARARGS, "See rig.splitdriver.front.lane."},
    {"back", lane_back, METH_VARARGS, "See rig.splitdriver.back.lane."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_lane",
    .m_doc = "Forwards what needs no decision.",
    .m_size = 0,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__lane(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddIntConstant(module, "INTERFACE", LANE_INTERFACE) < 0)
        Py_CLEAR(module);
    return module;
}
